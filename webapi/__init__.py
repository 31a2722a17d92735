"""HTTP: the REST API, the pages, the tables and what reads and writes them."""
