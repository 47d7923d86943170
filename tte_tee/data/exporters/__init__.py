"""Stores as other programs read them; :mod:`tte_tee.data.importers` is the way back."""
