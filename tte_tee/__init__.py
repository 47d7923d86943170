"""tte_tee: from transthoracic to transoesophageal echo, with LoRA and MaskR²."""

__version__ = "0.1.0"
