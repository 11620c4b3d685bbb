"""An assessment -> cards, with the orders that they suggest, in the dialects of EHRs."""
