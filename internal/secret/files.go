package secret

import "path/filepath"

// Files is the file that holds the secret, and nil for one that is elsewhere. What is no absolute path is not shown: it may be
// the secret itself, put where its place belongs.
func (r Ref) Files() []string {
	if !filepath.IsAbs(r.File) {
		return nil
	}
	return []string{r.File}
}
