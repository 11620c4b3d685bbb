"""Proofs about the knowledge: what holds on every chart that there can be, and not only on those that were tried."""
