package file

// Files are the files that an answer depends on, by absolute paths, whether they exist or not: the one it is read from.
func (s *Source) Files() []string { return []string{s.cfg.Path} }
