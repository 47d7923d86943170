"""A local page on which a mask is painted and its synthetic frame is seen.

Everything but :mod:`.page` and :mod:`.painter` is plain code that knows nothing of Gradio.
"""
