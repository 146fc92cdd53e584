"""Scaling laws of two-stage pretraining: forms, exact fits, uncertainty, selection and what follows from them."""
