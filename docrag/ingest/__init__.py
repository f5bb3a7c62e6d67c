"""Make an index tell what its files tell: plan, read, encode and write, resumably."""
