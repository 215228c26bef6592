package tokenizer

// isPieces reports whether a tokenizer.json is of SentencePiece's kind: it divides
// text at spaces or not at all.
func (f *tokenizerJSON) isPieces() bool {
	return f.PreTokenizer == nil || f.PreTokenizer.Type == "Metaspace"
}

// readPieces reads what turns text into pieces and back. Converters have written
// it in two ways: with the normalisers Prepend and Replace, and with the
// pre-tokeniser Metaspace in place of them.
func (v *vocabulary) readPieces(f *tokenizerJSON) error {
	v.pieces = &pieces{}
	if p := f.PreTokenizer; p != nil {
		if p.Replacement != meta {
			return unsupported("pre_tokenizer Metaspace with the replacement", p.Replacement, meta)
		}
		scheme, err := p.scheme()
		if err != nil {
			return err
		}
		v.pieces.prefix, v.pieces.once = scheme, true
		v.pieces.atSpaces = p.Split == nil || *p.Split
	} else if !f.Normalizer.escapes() {
		return unsupported("pre_tokenizer", "null without a normalizer that ends in Replace of a space by "+meta, supportedSplits...)
	}
	return v.readPieceDecoder(f.Decoder)
}

// escapes reports whether the last thing that a normaliser does is to replace spaces.
func (c *component) escapes() bool {
	if c != nil && c.Type == "Sequence" && len(c.Normalizers) > 0 {
		c = c.Normalizers[len(c.Normalizers)-1]
	}
	return c != nil && c.Type == "Replace" && c.Pattern.String == " " && c.Content == meta
}

// scheme returns when a Metaspace adds a space. Old files say it with add_prefix_space.
func (c *component) scheme() (prefixScheme, error) {
	schemes := map[string]prefixScheme{"always": prefixAlways, "first": prefixFirst, "never": prefixNever}
	name := "always"
	if c.PrependScheme != nil {
		name = *c.PrependScheme
	} else if c.AddPrefixSpace != nil && !*c.AddPrefixSpace {
		name = "never"
	}
	scheme, ok := schemes[name]
	if !ok {
		return 0, unsupported("Metaspace with the prepend_scheme", name, "always", "first", "never")
	}
	return scheme, nil
}

// readPieceDecoder reads the decoder.
func (v *vocabulary) readPieceDecoder(c *component) error {
	supported := []string{"Metaspace", "Sequence of Replace of " + meta + " by a space, ByteFallback, Fuse and, or not, Strip of one space on the left"}
	switch {
	case c == nil:
		return unsupported("decoder", "null", supported...)
	case c.Type == "Metaspace" && c.Replacement == meta:
		scheme, err := c.scheme()
		v.decoder, v.strip = decodeMetaspace, scheme != prefixNever
		return err
	case c.Type != "Sequence":
		return unsupported("decoder", c.Type, supported...)
	}
	parts := c.Decoders
	is := func(i int, kind string) bool { return i < len(parts) && parts[i] != nil && parts[i].Type == kind }
	if !is(0, "Replace") || parts[0].Pattern.String != meta || parts[0].Content != " " ||
		!is(1, "ByteFallback") || !is(2, "Fuse") || len(parts) > 4 {
		return unsupported("decoder", "another Sequence", supported...)
	}
	v.decoder = decodePieces
	if len(parts) == 4 {
		if s := parts[3]; !is(3, "Strip") || s.Content != " " || s.Start != 1 || s.Stop != 0 {
			return unsupported("decoder", "another Sequence", supported...)
		}
		v.strip = true
	}
	return nil
}
