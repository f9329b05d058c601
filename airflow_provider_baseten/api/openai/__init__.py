"""OpenAI-compatible servers: chats, structured output and embeddings."""
