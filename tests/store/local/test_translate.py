from __future__ import annotations

import datetime

import pytest
from pydantic import BaseModel
from qdrant_client import models

from docrag.errors import StoreError
from docrag.store.local import translate

POINT = models.GeoPoint(lon=0, lat=0)


def field(**condition: object) -> models.Filter:
    return models.Filter(must=models.FieldCondition(key="metadata.page", **condition))


def test_a_missing_limit_is_qdrants_default():
    request = translate.to_query(models.QueryRequest(prefetch=models.Prefetch(query=[1.0]), query=[1.0]))
    assert request.limit == translate.DEFAULT_LIMIT
    assert request.prefetches[0].limit == translate.DEFAULT_LIMIT
    assert request.with_vector is False


def test_no_filter_stays_none():
    assert translate.to_filter(None) is None


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (models.QueryRequest(query=7), "query by int"),
        (models.QueryRequest(query=models.SampleQuery(sample=models.Sample.RANDOM)), "query by SampleQuery"),
        (models.QueryRequest(query=[1.0], with_payload=True), "QueryRequest.with_payload"),
        (models.QueryRequest(query=[1.0], shard_key="a"), "QueryRequest.shard_key"),
        (models.QueryRequest(query=models.NearestQuery(nearest=[1.0])), "query by NearestQuery"),
        (models.QueryRequest(query=models.FusionQuery(fusion=models.Fusion.RRF)), "query by FusionQuery"),
        (models.QueryRequest(query=[1.0], offset=3), "QueryRequest.offset"),
        (
            models.QueryRequest(query=[1.0], params=models.SearchParams(acorn=models.AcornSearchParams())),
            "SearchParams.acorn",
        ),
        (
            models.QueryRequest(
                query=[1.0],
                prefetch=models.Prefetch(query=[1.0], lookup_from=models.LookupLocation(collection="a")),
            ),
            "Prefetch.lookup_from",
        ),
    ],
)
def test_what_is_not_covered_in_a_query_is_refused_by_name(request_: models.QueryRequest, name: str):
    with pytest.raises(StoreError, match=name):
        translate.to_query(request_)


@pytest.mark.parametrize(
    ("filter", "name"),
    [
        (field(match=models.MatchPhrase(phrase="a")), "MatchPhrase"),
        (field(match=models.MatchValue(value=True)), "truth value"),
        (field(range=models.DatetimeRange(gt=datetime.datetime(2020, 1, 1))), "DatetimeRange"),
        (field(geo_radius=models.GeoRadius(center=POINT, radius=1)), "FieldCondition.geo_radius"),
        (field(is_null=True), "FieldCondition.is_null"),
        (models.Filter(must=[models.HasVectorCondition(has_vector="image")]), "HasVectorCondition"),
        (models.Filter(min_should=models.MinShould(conditions=[], min_count=1)), "Filter.min_should"),
    ],
)
def test_what_is_not_covered_in_a_filter_is_refused_by_name(filter: models.Filter, name: str):
    with pytest.raises(StoreError, match=name):
        translate.to_filter(filter)


def test_a_field_that_a_later_client_adds_is_refused():
    class Later(BaseModel):
        must: list[str] | None = None
        novelty: int = 1

    with pytest.raises(StoreError, match=r"Later\.novelty"):
        translate._require_only(Later(), "must")
