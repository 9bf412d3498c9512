from edgeproxy.cli.main import main

main()
