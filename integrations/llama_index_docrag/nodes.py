"""Hits as LlamaIndex's nodes."""

from __future__ import annotations

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

FOR_PEOPLE = ("title", "file_name", "page_label")
"""Metadata that a model is told beside a page's text; the rest stays with the node."""


def node_of(hit: Hit) -> NodeWithScore:
    """A page as an ImageNode, with the path of its image; as a TextNode where it has no image any more."""
    metadata = _metadata(hit)
    kept_back = [key for key in metadata if key not in FOR_PEOPLE]
    image = _image(hit)
    kind = ImageNode if image else TextNode
    node = kind(
        id_=hit.page_id,
        text=hit.text,
        metadata=metadata,
        excluded_llm_metadata_keys=kept_back,
        excluded_embed_metadata_keys=kept_back,
        relationships={NodeRelationship.SOURCE: _source(hit)},
        **image,
    )
    return NodeWithScore(node=node, score=hit.score)


def _image(hit: Hit) -> dict[str, str]:
    """Where the image is; a file before an address, which a model elsewhere may not reach."""
    if hit.image_path is not None and hit.image_path.is_file():
        return {"image_path": str(hit.image_path.absolute()), "image_mimetype": "image/jpeg"}
    if hit.image_url:
        return {"image_url": hit.image_url, "image_mimetype": "image/jpeg"}
    return {}


def _metadata(hit: Hit) -> dict[str, Any]:
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
        "regions": [
            {"box": list(region.box), "score": region.score, "text": region.text} for region in hit.regions
        ],
    }


def _source(hit: Hit) -> RelatedNodeInfo:
    told = {"file_path": hit.file, "file_name": hit.metadata["file_name"]}
    return RelatedNodeInfo(node_id=hit.document_id, node_type=ObjectType.DOCUMENT, metadata=told)
