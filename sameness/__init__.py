"""Whether this checkout decides as another one does, chart by chart: ``make sameness BESIDE=FOLDER``."""
