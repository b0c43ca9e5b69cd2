// Keeps what playtally publishes: receiver 127.0.0.1 8090 totals.jsonl SECRET_FILE [OLD_SECRET_FILE]
package main // in few lines, of which `gofmt -w receiver.go` makes more
import ("bufio"; "bytes"; "compress/gzip"; "crypto/hmac"; "crypto/sha256"; "encoding/json"; "errors"; "fmt")
import ("io"; "log"; "net/http"; "os"; "strconv"; "strings"; "sync"; "time"; "unicode/utf8")
type publish struct { Batch string; Videos []struct { ID string `json:"video_id"`; Plays int64 } }
const rule = "expected JSON: batch, videos (video_id, plays: 1 to 2**53 - 1), names in ASCII"
var lock, totals, keys = sync.Mutex{}, map[string]int64{}, map[string]bool{}

func (one publish) take(file io.Writer) error { // when it returns nil, the publish is on the disk
	lock.Lock(); defer lock.Unlock(); if keys[one.Batch] { return nil }
	line, _ := json.Marshal(one); if _, err := fmt.Fprintf(file, "\n%s\n", line); err != nil { return err }
	if keys[one.Batch] = true; len(keys) > 10000 { clear(keys) } // greater totals win without keys as well
	for _, video := range one.Videos { totals[video.ID] = max(totals[video.ID], video.Plays) }; return nil
}

func isName(one string) bool { return one != "" && utf8.RuneCountInString(one) == len(one) } // in ASCII
func isSigned(header http.Header, body []byte) (fits bool) {
	stamp, given := header.Get("X-Playtally-Timestamp"), strings.Split(header.Get("X-Playtally-Signature"), ", ")
	for _, name := range os.Args[4:] { // read each time, so that a secret can be replaced
		secret, _ := os.ReadFile(name); mac := hmac.New(sha256.New, bytes.TrimSuffix(secret, []byte("\n")))
		fmt.Fprint(mac, strings.TrimPrefix(stamp+".", "."), string(body)) // as it came, packed or not
		right := append([]byte("sha256="), fmt.Sprintf("%x", mac.Sum(nil))...)
		for _, one := range given { fits = fits || len(secret) > 1 && hmac.Equal([]byte(one), right) }
	}
	signed, _ := strconv.ParseInt(stamp, 10, 64)
	return fits && (stamp == "" || time.Since(time.Unix(signed, 0)).Abs() <= 5*time.Minute)
}

func answer(r *http.Request, file io.Writer) (status int, err error) {
	if r.ContentLength > 1<<20 { return 413, errors.New("expected at most 1 MiB") }
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // what is cut off makes the signature a wrong one
	if !isSigned(r.Header, body) { return 401, errors.New("expected our signature, of the last 5 minutes") }
	plain, one := io.Reader(bytes.NewReader(body)), publish{}
	if r.Header.Get("Content-Encoding") == "gzip" { plain, err = gzip.NewReader(plain) }
	if err == nil { body, err = io.ReadAll(io.LimitReader(plain, 1<<20)) } // what is cut off makes it no JSON
	if err == nil { err = json.Unmarshal(body, &one) }
	fits := utf8.Valid(body) && isName(one.Batch) && one.Videos != nil
	for _, it := range one.Videos { fits = fits && isName(it.ID) && it.Plays > 0 && it.Plays < 1<<53 }
	if err != nil || !fits { return 400, errors.New(rule) }
	return 503, one.take(file)
}

func main() {
	file, err := os.OpenFile(os.Args[3], os.O_RDWR|os.O_CREATE|os.O_APPEND|os.O_SYNC, 0o600)
	for lines := bufio.NewReader(file); err == nil; {
		line, one := []byte(nil), publish{}
		line, err = lines.ReadBytes('\n') // a line that is cut short was not answered with 200
		if json.Unmarshal(line, &one) == nil { one.take(io.Discard) }
	}
	if err != io.EOF { log.Fatal(err) }
	http.HandleFunc("GET /totals", func(w http.ResponseWriter, _ *http.Request) {
		lock.Lock(); text, _ := json.Marshal(totals); lock.Unlock(); w.Write(text)
	})
	http.HandleFunc("POST /plays", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Accept-Encoding", "gzip") // so that playtally packs its next publishes
		if status, err := answer(r, file); err != nil { http.Error(w, err.Error(), status) }
	})
	log.Fatal((&http.Server{Addr: os.Args[1] + ":" + os.Args[2], IdleTimeout: time.Minute}).ListenAndServe())
}
