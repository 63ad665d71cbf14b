"""Parts that DETR's descendants for moment retrieval are put together from; a method takes the ones that it has."""
