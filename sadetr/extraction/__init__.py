"""Features from raw videos and sentences, as HERO's extractor makes them (linjieli222/HERO_Video_Feature_Extractor)."""
