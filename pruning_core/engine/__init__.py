"""The rooms that import torch."""
