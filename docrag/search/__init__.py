"""From a query to pages: plan the Qdrant queries, fuse their rankings, find the regions that matched."""
