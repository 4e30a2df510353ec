"""RabbitMQ as broker and result store have it in common: addresses, connections, drivers."""
