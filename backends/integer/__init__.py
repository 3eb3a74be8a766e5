"""The backend of the model in integers; see `backend`."""
