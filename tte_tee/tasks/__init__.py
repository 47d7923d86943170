"""LightningModules and callbacks: training, logging, optimisers, EMA."""
