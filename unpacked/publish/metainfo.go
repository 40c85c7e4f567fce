package publish

import "encoding/json"

// metainfo is the JSON that describes a repository to people and tools.
type metainfo struct {
	Administrator string         `json:"administrator"`
	Email         string         `json:"email"`
	Organisation  string         `json:"organisation"`
	Description   string         `json:"description"`
	URL           string         `json:"url"`
	Stratum0      string         `json:"recommended-stratum0"`
	Stratum1s     []string       `json:"recommended-stratum1s"`
	Custom        map[string]any `json:"custom"`
}

func defaultMetainfo(description string) []byte {
	b, err := json.MarshalIndent(metainfo{Description: description, Stratum1s: []string{}, Custom: map[string]any{}}, "", "  ")
	if err != nil {
		panic(err) // of strings, there is nothing that cannot be encoded
	}
	return append(b, '\n')
}
