"""How a collection is: the server's own state of it, and in a cluster the copies that are not active."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from qdrant_client import models

from docrag.errors import StoreError
from docrag.store.base import CollectionHealth, ReplicaState
from docrag.store.server.connection import Connection
from docrag.store.server.failures import shorten

logger = logging.getLogger(__name__)


def collection_health(connection: Connection, collection: str) -> CollectionHealth | None:
    """Return how a collection is; None if there is none of that name.

    Args:
        connection: To the server.
        collection: The name of a collection or an alias.

    Raises:
        ServerUnreachable: The server does not answer.
        ServerRefused: The key does not allow reading the collection.
    """
    info = connection.info(collection)
    if info is None:
        return None
    optimizer = info.optimizer_status
    error = optimizer.error if isinstance(optimizer, models.OptimizersStatusOneOf1) else ""
    replicas = tuple(_inactive_replicas(connection, collection))
    health = CollectionHealth(info.status.value, shorten(error), replicas)
    for note in health.notes():
        logger.info("%s/%s: %s", connection.address.url, collection, note)
    return health


def _inactive_replicas(connection: Connection, collection: str) -> Iterator[ReplicaState]:
    """Yield the copies of shards that are not active, as far as the server tells."""
    api = connection.client.http.distributed_api
    try:
        cluster = connection.read(lambda: api.collection_cluster_info(collection)).result
    except StoreError as error:  # such as a key that allows this collection only
        logger.info("the server does not tell the state of the shards: %s", error)
        return
    if cluster is None:
        return
    peers: list[tuple[models.LocalShardInfo | models.RemoteShardInfo, int]] = [
        (shard, cluster.peer_id) for shard in cluster.local_shards
    ]
    peers += [(shard, shard.peer_id) for shard in cluster.remote_shards]
    for shard, peer in peers:
        if shard.state is not models.ReplicaState.ACTIVE:
            yield ReplicaState(shard.shard_id, peer, shard.state.value)
