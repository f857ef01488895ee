"""The report: one offline HTML file about a run, with pictures whose thresholds can be moved in the page (`build`)."""
