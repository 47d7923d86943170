"""Masks in, labelled frames out, with what they were made from."""
