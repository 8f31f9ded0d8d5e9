"""Bags: the embeddings of one slide, kept by slide, whatever dataset asks for them."""
