"""Rebalance Studio: navigation, theme, first-run check; nothing else."""

from pages.parts.frame import check_first_run, configure, foot, navigate

configure()
page = navigate()
if check_first_run():
    page.run()
foot()
