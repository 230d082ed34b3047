"""The page of Second Take: a Gradio app over ``actor_core``."""
