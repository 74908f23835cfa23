"""Pictures made of arrays: figure style, outlines, composites, animations. Used by heads, reports and inference."""
