"""The attention explorer: a widget, and the page that `make app` serves."""
