"""A key-value store that speaks in lines, behind Sallyport."""
