package oauth2

import "slices"

// Files are the files that an answer depends on, by absolute paths, whether they exist or not: those of the secrets, and the
// ca_file.
func (s *Source) Files() []string {
	files := slices.Concat(s.cfg.ClientSecret.Files(), s.cfg.PrivateKey.Files())
	if s.cfg.CAFile != "" {
		files = append(files, s.cfg.CAFile)
	}
	return files
}
