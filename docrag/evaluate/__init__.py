"""Evaluation of search quality: from judged questions to nDCG, recall, MRR and latency."""

from docrag.evaluate.measure import by_source, evaluate, latency, report
from docrag.evaluate.qrels import JudgedQuery, Qrels, read_qrels, read_queries

__all__ = [
    "JudgedQuery",
    "Qrels",
    "by_source",
    "evaluate",
    "latency",
    "read_qrels",
    "read_queries",
    "report",
]
