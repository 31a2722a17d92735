"""The science of the loop: text, arrays and models in; text, arrays and numbers out. Knows no Django and no vendor."""
