"""The gRPC service: live frames, durable jobs, transfers, the catalogue."""
