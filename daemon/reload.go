package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/watch"
	"freshet.dev/internal/wire"
)

// RequestReload has the configuration file read again soon, by Serve. What comes of it is in the log.
func (d *Daemon) RequestReload() {
	select {
	case d.wanted <- struct{}{}:
	default: // there is a request already, which will find this change too
	}
}

// reloads does what RequestReload asked for, until the shutdown.
func (d *Daemon) reloads() {
	for {
		select {
		case <-d.wanted:
			_, _ = d.Reload() // it is in the log
		case <-d.ctx.Done():
			return
		}
	}
}

// Reload reads the configuration file again and puts it in force: identities, who may use them, endpoints, proxies, secrets and
// certificates. What has not changed keeps its credentials, its port, its sessions and its connections. A file that is wrong changes nothing, and is told in the log and
// in status until there is a better one. Settings of the process itself take a restart, and are named in the answer. It goes on
// until the shutdown, whoever asked for it, since what it leaves half done would be told as the file's fault.
func (d *Daemon) Reload() (wire.Reloaded, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.ctx.Err() != nil || !d.serving {
		return wire.Reloaded{}, freshet.Errorf(freshet.Unavailable, "the daemon is not serving")
	}
	old := d.running.Load().cfg
	cfg, changes, err := d.replace(old)
	if err != nil && d.ctx.Err() != nil {
		return wire.Reloaded{}, freshet.Errorf(freshet.Unavailable, "the daemon is shutting down")
	}
	d.figures.Reloaded(err == nil)
	if err != nil {
		d.logProblems(err)
		d.running.Store(&running{old, err})
		return wire.Reloaded{}, err
	}
	d.running.Store(&running{cfg: cfg})
	done := wire.Reloaded{
		Added: listed(changes.Added), Changed: listed(changes.Changed), Removed: listed(changes.Removed), Restart: listed(restart(d.started, cfg)),
	}
	d.log.Info("configuration reloaded", "file", cfg.Path, "added", done.Added, "changed", done.Changed, "removed", done.Removed)
	if len(done.Restart) > 0 {
		d.log.Warn("some changes of the configuration take a restart of the daemon", "keys", done.Restart)
	}
	return done, nil
}

// replace puts the file in force, or leaves everything as it is.
func (d *Daemon) replace(old *config.File) (_ *config.File, no broker.Changes, err error) {
	cfg, err := config.Load(old.Path, Kinds())
	if err != nil {
		return nil, no, err
	}
	defer func() {
		if err != nil {
			kept, _ := identities(old, Options{Run: d.run})
			d.follow(kept, old, cfg) // what it lacks, such as a secret's file, may come
		}
	}()
	if err := cfg.CheckSecrets(); err != nil {
		return nil, no, err
	}
	// A broker of its own shows what would be wrong with its doors, before the one in use is touched.
	if err := Check(d.ctx, cfg); err != nil {
		return nil, no, err
	}
	all, err := readSites(d.ctx, cfg, d.run)
	if err != nil {
		return nil, no, err
	}
	bridges, err := readGateways(cfg)
	if err != nil {
		return nil, no, err
	}
	ids, err := identities(cfg, Options{Run: d.run, Pin: true})
	if err != nil {
		return nil, no, err
	}
	taken, err := listenFor(all, d.listeners)
	if err != nil {
		return nil, no, err
	}
	defer func() {
		if err != nil {
			closeAll(taken)
		}
	}()
	d.follow(ids, cfg) // before anybody can ask for what it reads
	changes, err := d.broker.Reconfigure(ids)
	if err != nil {
		return nil, no, err
	}
	gateways, err := d.bridges.prepare(bridges)
	if err != nil {
		return nil, no, err
	}
	fronts, err := d.opener.open(all, d.listeners, gateways)
	if err != nil {
		discard(gateways)
		return nil, no, err
	}
	d.show(all, fronts, taken)
	d.bridges.put(gateways)
	return cfg, changes, nil
}

// show puts fronts in place of those there are, at the listeners there are and those just taken, and closes the listeners that have
// none. Requests under way go on: where nothing is served any more for as long as a shutdown would wait for them, elsewhere until
// they end.
func (d *Daemon) show(all sites, fronts map[string]*front, taken map[string]*listener) {
	for address, l := range d.listeners {
		next := fronts[address]
		if next != nil && taken[address] == nil {
			next.succeed(l.front.Load())
			l.front.Swap(next).leave()
			continue
		}
		new(front).succeed(l.front.Load()) // nothing goes on, not even for the same callers, who are let in by other certificates
		delete(d.listeners, address)
		l.server.refuse()
		l.Close() // now, for the port may be wanted again by the next reload
		ctx, cancel := context.WithCancel(context.Background())
		if next == nil {
			ctx, cancel = context.WithTimeout(ctx, drain)
		}
		go func() {
			defer cancel()
			l.retire(ctx)
		}()
	}
	for address, l := range taken {
		l.front.Store(fronts[address])
		l.serve(&d.servers)
		d.listeners[address] = l
	}
	for _, s := range all {
		if err := d.listeners[s.address].allow(s.mode); err != nil {
			d.log.Warn("a socket's permissions could not be set", "listen", s.address, "error", err)
		}
	}
}

// follow watches configurations, which are of one file: that file, those of secrets and certificates that it names, and what the
// sources of ids read.
func (d *Daemon) follow(ids []broker.Identity, cfgs ...*config.File) {
	var files []string
	for _, c := range cfgs {
		for _, path := range slices.Concat(c.SecretFiles(), c.ProxyFiles(), c.MCPFiles(), []string{c.Path}) {
			if path, err := filepath.Abs(path); err == nil {
				files = append(files, path)
			}
		}
	}
	sets := []watch.Set{{Key: "configuration", Files: func() []string { return files }, Changed: d.RequestReload}}
	d.watcher.Watch(append(sets, sourceFiles(d.broker, ids)...))
}

// restart lists the settings of the process itself that differ.
func restart(old, cfg *config.File) []string {
	var keys []string
	for _, s := range []struct {
		key       string
		was, then any
	}{
		{"audit", old.Audit, cfg.Audit}, {"cache", old.Cache, cfg.Cache}, {"log", old.Log, cfg.Log},
		{"metrics", old.Metrics, cfg.Metrics}, {"ready", old.Ready, cfg.Ready}, {"socket", old.Socket, cfg.Socket}, {"store", old.Store, cfg.Store},
	} {
		if !reflect.DeepEqual(s.was, s.then) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// logProblems logs each problem of a configuration that is not put in force.
func (d *Daemon) logProblems(err error) {
	var many config.Errors
	if !errors.As(err, &many) {
		d.log.Error("configuration not reloaded: the one before stays in force", "error", err)
		return
	}
	for _, one := range many {
		d.log.Error("configuration not reloaded: the one before stays in force", "error", one, "hint", one.Hint())
	}
}

// status is what the local API tells of the daemon.
func (d *Daemon) status() wire.Running {
	r := d.running.Load()
	s := wire.Running{Version: d.version, Config: r.cfg.Path, Digest: r.cfg.Digest}
	if r.err != nil {
		s.ConfigError = r.err.Error()
	}
	return s
}

// listed is a list that JSON shows as empty rather than null.
func listed(names []string) []string { return append([]string{}, names...) }
