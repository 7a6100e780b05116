package broker

// Unloaded lists the identities that have a pinned credential and cannot serve it, sorted. It takes O(identities).
func (b *Broker) Unloaded() []string {
	var names []string
	w := b.world.Load()
	for _, name := range w.names {
		if !w.entries[name].Loaded() {
			names = append(names, name)
		}
	}
	return names
}
