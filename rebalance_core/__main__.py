from rebalance_core.cli import main

main()
