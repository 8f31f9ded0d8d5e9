"""Classification of images by their embeddings."""
