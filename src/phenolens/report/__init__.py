"""One offline HTML page for a study."""
