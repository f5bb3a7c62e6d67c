"""Short names of the checkpoints that people use most; any other id or directory works as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Listed(NamedTuple):
    """A checkpoint of the hub, and what is worth knowing before it is downloaded."""

    option: Literal["late", "image", "text"]
    library: str
    model: str
    licence: str
    """Of the weights, and of those that they were made from where that is stricter."""
    dim: int
    vectors: int
    """For a page of US Letter at the checkpoint's own resolution; 0 where that is not known beforehand."""


CATALOGUE: Mapping[str, Listed] = {
    "colpali": Listed("late", "colpali-engine", "vidore/colpali-v1.3", "Gemma", 128, 1031),
    "colqwen2": Listed("late", "colpali-engine", "vidore/colqwen2-v1.0", "Apache-2.0", 128, 755),
    "colqwen2.5": Listed("late", "colpali-engine", "vidore/colqwen2.5-v0.2", "Qwen Research", 128, 755),
    "colqwen3": Listed("late", "colpali-engine", "TomoroAI/tomoro-colqwen3-embed-4b", "Apache-2.0", 320, 0),
    "colqwen3.5": Listed("late", "colpali-engine", "athrael-soju/colqwen3.5-4.5B-v3", "Apache-2.0", 320, 0),
    "colsmol-256m": Listed("late", "colpali-engine", "vidore/colSmol-256M", "Apache-2.0", 128, 1143),
    "colsmol-500m": Listed("late", "colpali-engine", "vidore/colSmol-500M", "Apache-2.0", 128, 1143),
    "colmodernvbert": Listed("late", "colpali-engine", "ModernVBERT/colmodernvbert", "MIT", 128, 1143),
    "colgemma3": Listed("late", "colpali-engine", "Cognitive-Lab/ColNetraEmbed", "Gemma", 128, 0),
    "colpali-hf": Listed("late", "sentence-transformers", "vidore/colpali-v1.3-hf", "Gemma", 128, 1030),
    "colqwen2-hf": Listed("late", "sentence-transformers", "vidore/colqwen2-v1.0-hf", "Apache-2.0", 128, 755),
    "clip-vit-b-32": Listed("image", "transformers", "openai/clip-vit-base-patch32", "MIT", 512, 1),
    "clip-vit-l-14": Listed("image", "transformers", "openai/clip-vit-large-patch14", "MIT", 768, 1),
    "clip-multilingual": Listed(
        "image",
        "transformers",
        "sentence-transformers/clip-ViT-B-32+sentence-transformers/clip-ViT-B-32-multilingual-v1",
        "MIT and Apache-2.0",
        512,
        1,
    ),
    "siglip-base-224": Listed(
        "image", "transformers", "google/siglip-base-patch16-224", "Apache-2.0", 768, 1
    ),
    "siglip2-base-224": Listed(
        "image", "transformers", "google/siglip2-base-patch16-224", "Apache-2.0", 768, 1
    ),
    "siglip2-base-512": Listed(
        "image", "transformers", "google/siglip2-base-patch16-512", "Apache-2.0", 768, 1
    ),
    "siglip2-so400m-384": Listed(
        "image", "transformers", "google/siglip2-so400m-patch14-384", "Apache-2.0", 1152, 1
    ),
    "siglip2-base-naflex": Listed(
        "image", "transformers", "google/siglip2-base-patch16-naflex", "Apache-2.0", 768, 1
    ),
    "all-mpnet-base-v2": Listed(
        "text", "sentence-transformers", "sentence-transformers/all-mpnet-base-v2", "Apache-2.0", 768, 1
    ),
    "multilingual-minilm": Listed(
        "text",
        "sentence-transformers",
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "Apache-2.0",
        384,
        1,
    ),
    "bge-m3": Listed("text", "sentence-transformers", "BAAI/bge-m3", "MIT", 1024, 1),
}
