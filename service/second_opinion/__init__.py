"""The questions whose answers would change the advice, for whoever can answer them: as an adaptive form, and as the
page of a SMART app that the link of a card opens in the EHR.

The page reads the chart as a hook call does, shows the advice of that hook, asks, and saves the answers where the EHR
can read them. Nothing of a patient is kept here: what a page needs of the next one lies sealed in it.
"""
