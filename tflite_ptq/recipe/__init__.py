"""The recipe: frozen typed models, the loader that turns YAML into them, and the JSON Schema made from them."""
