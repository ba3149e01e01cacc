"""How a captioner learns: settings, kept features, the loop, its losses."""
