"""Hits as LlamaIndex nodes."""

from __future__ import annotations

import logging
from typing import Any

from llama_index.core.schema import (
    ImageNode,
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

from docrag.types import Hit

logger = logging.getLogger(__name__)

METADATA_FOR_MODELS = ("title", "file_name", "page_label")
"""The metadata that a model is shown with the text of a page; the node keeps the rest."""


def page_node(hit: Hit) -> NodeWithScore:
    """Turn a hit into an ImageNode with the path or address of its image, or a TextNode if it has neither."""
    metadata = _node_metadata(hit)
    hidden_keys = [key for key in metadata if key not in METADATA_FOR_MODELS]
    image_fields = _image_fields(hit)
    if not image_fields:
        logger.info("page %s has no image any more: it becomes a TextNode", hit.page_id)
    node_class = ImageNode if image_fields else TextNode
    node = node_class(
        id_=hit.page_id,
        text=hit.text,
        metadata=metadata,
        excluded_llm_metadata_keys=hidden_keys,
        excluded_embed_metadata_keys=hidden_keys,
        relationships={NodeRelationship.SOURCE: _document_info(hit)},
        **image_fields,
    )
    return NodeWithScore(node=node, score=hit.score)


def _image_fields(hit: Hit) -> dict[str, str]:
    """Where the image is; a file is preferred to an address, which a remote model may not reach."""
    image_path = hit.image_file_or_none()
    if image_path is not None:
        return {"image_path": str(image_path.absolute()), "image_mimetype": "image/jpeg"}
    if hit.image_url:
        return {"image_url": hit.image_url, "image_mimetype": "image/jpeg"}
    return {}


def _node_metadata(hit: Hit) -> dict[str, Any]:
    return {
        "file_path": hit.file,
        "file_name": hit.metadata["file_name"],
        "title": hit.metadata["title"],
        "page_label": hit.metadata["page_label"],
        "page_number": hit.page,
        "total_pages": hit.metadata["total_pages"],
        "document_id": hit.document_id,
        "image_url": hit.image_url,
        "scores": dict(hit.scores),
        "regions": [region.as_json() for region in hit.regions],
    }


def _document_info(hit: Hit) -> RelatedNodeInfo:
    metadata = {"file_path": hit.file, "file_name": hit.metadata["file_name"]}
    return RelatedNodeInfo(node_id=hit.document_id, node_type=ObjectType.DOCUMENT, metadata=metadata)
