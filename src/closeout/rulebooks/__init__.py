"""What each venue does, as dated text files with sources, and the schema and loader that read them."""
