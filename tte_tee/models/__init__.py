"""Networks and the mathematics around them: plain ``nn.Module`` and functions on tensors."""
