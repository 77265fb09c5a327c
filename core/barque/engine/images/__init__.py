"""Images: kept, named, brought in, sent out, made of containers."""
