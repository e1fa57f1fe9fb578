.PHONY: facts

# Writes the tables under api/src/facts again. Needs Go and the Go module proxy.
facts:
	cd api/facts-tool && go run . -out ../src/facts
	cargo fmt -p coracle-api
