package privacy

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// Kinds of secrets.
var (
	apiKeys = detector{
		kind: "api_key",
		hits: []string{
			"AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a", "key=glpat-" + "0a1B2c3D4e5F6g7H8i9J",
			"xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "AIza" + "SyD1a2b3c4d5e6f7g8h9i0jKlMnOpQrStUv",
			"SG." + "ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr", "npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
			"sk-ant-" + "api03-a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D0e1F2g3H4i5J6k7L8m9N0o1P2q3R4s5T6-AbCdEfAA",
			"https://hooks.slack.com/services/" + "T01234567/B01234567/a1B2c3D4e5F6g7H8i9J0k1L2", "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
			"https://discord.com/api/webhooks/123456789012345678/" + "lxh1weRL0a550aNqDjNd8k5Pjg3HFrX54bAAQofoK1Me0I3Tbtou7NJpZqAqSBYcuUhm",
			"access_token$production$" + "k3jx9r2m7q4t8w5z$0f1e2d3c4b5a69788796a5b4c3d2e1f0", "pdl_live_apikey_" + "01gtgztp8f4kek3yd4g1wrksa3_q6TGTJyvoIz7LDtXT65bX7_AQO",
			"ddpat_" + "3fK9sLx2mQw7vB4nH6tY1u_Z0pRa8Dc5Ej2Fg7Hk4Ln9Mq1Pt6Rv3Sx8Uz0WbYdGh5Jm", "FlyV1 fm1r_" + strings.Repeat("lJPECAAAAAAAAyzNxBBhR7q+", 6) + "==",
			"key-" + "7ax2xnjp93jd8fds1gc762sgvjxteol5", // not hexadecimal
			"snyk_uat." + "1a2b3c4d.eyJlIjoxODAwMDAwMDAwLCJoIjoic255ay5pbyIsImoiOiIxMjM0NTY3OCIsInMiOiI4NzY1NDMyMSJ9.Zk3x9Q2mW7vB4nH6tY1uZ0pRa8Dc5Ej2Fg7Hk4Ln9Mq1Pt6Rv3Sx8Uz0WbYdGh5Jm4Ns7Qw1Ez6Rc9Tv",
			"bot" + "123456789:AAFh3k2JmN8pQ4rS6tU7vW9xY1zA2bC3dE4", "MTIzNDU2Nzg5MDEyMzQ1Njc4.G" + "a1b2C.d3E4f5G6h7I8j9K0l1M2n3O4p5Q6r7S8t9U0v1",
			"AIza" + "SyD1a2b3c4d5e6f7g8h9i0jKlMnOpQrStU-", "use AIza" + "SyD1a2b3c4d5e6f7g8h9i0jKlMnOpQrSt_- now", "apify_api_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
			"RGAPI-" + "0f8fad5b-d9cb-469f-a165-70867728950e", "mdb_sa_sk_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0",
		},
		misses: []string{
			"AKIAIOSFODNN7EXAMPL", "12345678:AAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "MTIzNDU2Nzg5MDEyMzQ1Njc4.module.short_name", "ghp_short", "ghp_" + strings.Repeat("x", 36), "sk-learn-contrib-packages", "risk-free-trial-period-for-everyone", "npm_config_registry_url_for_everyone_else_to_use",
		},
	}
	jwts = detector{
		kind:   "jwt",
		hits:   []string{"eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "Bearer eyJhbGciOiJub25lIn0." + "eyJzdWIiOiJ4In0.", "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"},
		misses: []string{"eyJhbGciOiJIUzI1NiJ9", "eyJub3QgYSBqd3Q.eyJub3QgYSBqd3Q.abc", "eyes.on.me"},
	}
	privateKeys = detector{
		kind: "private_key",
		hits: []string{
			"-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu\n-----END RSA PRIVATE KEY-----",
			"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQdGBF",
			"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: \"x\"\nP2/56wAAAi4AAAA3aWYtbW9kbntzaWdue3JzYQ==\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
			"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 1\nAAAAC3Nz\nPrivate-Lines: 1\nAAAAIKx81kQp0vT5\nPrivate-MAC: 9f86d081884c7d659a2feaa0c55ad015",
			"KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn", "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ",
			"xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi",
			"a=1&key=-----BEGIN+RSA+PRIVATE+KEY-----%0AMIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeK%0A-----END+RSA+PRIVATE+KEY-----&b=1",
			"key := \"-----BEGIN EC PRIVATE KEY-----\\n\" +\n\t\"MHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk5oanCEwKB\\n\" +\n\t\"-----END EC PRIVATE KEY-----\"", "AGE-SECRET-KEY-" + "1QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE",
		},
		misses: []string{"PuTTY-User-Key-File-2: ssh-rsa", "-----BEGIN CERTIFICATE-----\nMIIB", "-----BEGIN PUBLIC KEY-----\nMIIB", "-----BEGIN PRIVATE KEY", "BEGIN PRIVATE KEY"},
	}
)

// A keyFormat is how a vendor writes its keys: a fixed beginning, then min to
// max characters of a set. doc/privacy.md says which of them their vendors
// document; the others are those in common use, and may be off.
type keyFormat struct {
	prefix   string
	set      *[256]bool
	min, max int
}

var (
	hexBytes    = bytesOf("0123456789abcdefABCDEF")
	upperBytes  = bytesOf("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
	dottedBytes = bytesOf("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.")
	alnumBytes  = setOf("")
	nameBytes   = setOf("_")
	dollarBytes = setOf("$_")
)

func bytesOf(chars string) *[256]bool {
	var t [256]bool
	for i := range chars {
		t[chars[i]] = true
	}
	return &t
}

var keyFormats = []keyFormat{
	// Clouds and hosting.
	{"AKIA", upperBytes, 16, 16}, {"ASIA", upperBytes, 16, 16}, {"ABIA", upperBytes, 16, 16}, {"ACCA", upperBytes, 16, 16}, // AWS
	{"ABSK", base64Bytes, 100, 140},                                                                        // AWS Bedrock
	{"AIza", wordBytes, 35, 35},                                                                            // Google API
	{"GOCSPX-", wordBytes, 28, 28},                                                                         // Google OAuth client
	{"ya29.", wordBytes, 20, 2048},                                                                         // Google OAuth access
	{"1//0", wordBytes, 40, 512},                                                                           // Google OAuth refresh
	{"dop_v1_", hexBytes, 64, 64},                                                                          // DigitalOcean personal
	{"doo_v1_", hexBytes, 64, 64},                                                                          // DigitalOcean OAuth
	{"dor_v1_", hexBytes, 64, 64},                                                                          // DigitalOcean refresh
	{"LTAI", alnumBytes, 12, 20},                                                                           // Alibaba Cloud
	{"AKID", alnumBytes, 32, 32},                                                                           // Tencent Cloud
	{"HRKU-", wordBytes, 36, 80},                                                                           // Heroku
	{"fm2_", base64Bytes, 100, 2000}, {"fm1r_", base64Bytes, 100, 2000}, {"fm1a_", base64Bytes, 100, 2000}, // Fly.io, behind FlyV1
	{"fo1_", wordBytes, 43, 43},                                          // Fly.io
	{"nfp_", alnumBytes, 36, 40},                                         // Netlify
	{"vercel_blob_rw_", wordBytes, 30, 80}, {"vcp_", alnumBytes, 40, 80}, // Vercel
	{"rnd_", alnumBytes, 28, 40},                                                             // Render
	{"tskey-", wordBytes, 20, 100},                                                           // Tailscale
	{"hvs.", wordBytes, 24, 300}, {"hvb.", wordBytes, 24, 300}, {"hvr.", wordBytes, 24, 300}, // HashiCorp Vault
	{"dp.pt.", alnumBytes, 40, 48}, {"dp.st.", tokenBytes, 40, 90}, {"dp.ct.", alnumBytes, 40, 48}, {"dp.sa.", alnumBytes, 40, 48}, // Doppler
	{"pul-", hexBytes, 40, 40},                                                              // Pulumi
	{"SCW", upperBytes, 17, 17},                                                             // Scaleway
	{"ops_", base64Bytes, 250, 4000},                                                        // 1Password service account
	{"A3-", wordBytes, 32, 40},                                                              // 1Password secret key
	{"v1.0-", hexBytes, 100, 200},                                                           // Cloudflare origin CA
	{"cfk_", wordBytes, 41, 64}, {"cfut_", wordBytes, 41, 64}, {"cfat_", wordBytes, 41, 64}, // Cloudflare
	{"CFPAT-", wordBytes, 43, 43},                                         // Contentful
	{"sk.eyJ1Ijoi", tokenBytes, 40, 300},                                  // Mapbox
	{"amzn.mws.", wordBytes, 36, 36},                                      // Amazon MWS
	{"aio_", alnumBytes, 28, 28},                                          // Adafruit IO
	{"kaggle_", alnumBytes, 32, 64},                                       // Kaggle
	{"FLWSECK-", wordBytes, 32, 60}, {"FLWSECK_TEST-", wordBytes, 32, 60}, // Flutterwave
	{"EAAA", wordBytes, 60, 64},                                    // Square
	{"sq0atp-", wordBytes, 22, 22}, {"sq0csp-", wordBytes, 43, 43}, // Square

	// Code and packages.
	{"ghp_", nameBytes, 36, 251}, {"gho_", nameBytes, 36, 251}, {"ghu_", nameBytes, 36, 251}, {"ghs_", nameBytes, 36, 251}, {"ghr_", nameBytes, 36, 251}, {"github_pat_", nameBytes, 82, 244}, // GitHub
	{"glpat-", tokenBytes, 20, 300}, {"gldt-", wordBytes, 20, 64}, {"glrt-", tokenBytes, 20, 64}, {"glcbt-", wordBytes, 20, 64}, {"glptt-", hexBytes, 40, 40}, {"glft-", wordBytes, 20, 64}, {"glimt-", wordBytes, 25, 25}, {"glagent-", wordBytes, 50, 50}, {"gloas-", hexBytes, 64, 64}, {"glsoat-", wordBytes, 20, 64}, {"glrtr-", tokenBytes, 20, 64}, {"glwt-", wordBytes, 20, 64}, {"glffct-", wordBytes, 20, 64}, {"GR1348941", wordBytes, 20, 20}, // GitLab
	{"ATBB", alnumBytes, 32, 36}, {"ATATT3", base64Bytes, 150, 260}, {"ATCTT3", base64Bytes, 150, 260}, // Atlassian
	{"npm_", alnumBytes, 36, 36},                                                                                     // npm
	{"pypi-", wordBytes, 85, 800},                                                                                    // PyPI
	{"packagist_ort_", hexBytes, 68, 68}, {"packagist_out_", hexBytes, 68, 68}, {"packagist_uut_", hexBytes, 68, 68}, // Packagist
	{"rubygems_", hexBytes, 48, 48},                                    // RubyGems
	{"cio", alnumBytes, 32, 32},                                        // crates.io
	{"oy2", alnumBytes, 43, 43},                                        // NuGet
	{"CLOJARS_", hexBytes, 60, 60},                                     // Clojars
	{"dckr_pat_", wordBytes, 27, 27}, {"dckr_oat_", wordBytes, 32, 32}, // Docker
	{"AKCp", alnumBytes, 60, 80}, {"cmVmdGtu", alnumBytes, 56, 56}, // JFrog
	{"sqp_", hexBytes, 40, 40}, {"squ_", hexBytes, 40, 40}, {"sqa_", hexBytes, 40, 40}, // SonarQube; sqb_ is of badges
	{"CCIPAT_", wordBytes, 40, 80}, {"CCIPRJ_", wordBytes, 40, 80}, // CircleCI
	{"bkua_", alnumBytes, 40, 64}, {"bkaa_", wordBytes, 60, 90}, {"bkaj_", tokenBytes, 40, 600}, // Buildkite
	{"sgp_", wordBytes, 40, 60}, {"slk_", hexBytes, 64, 64}, // Sourcegraph
	{"PMAK-", wordBytes, 59, 59},                                                                                                   // Postman
	{"snyk_", tokenBytes, 36, 400},                                                                                                 // Snyk
	{"sntrys_", base64Bytes, 80, 400}, {"sntryu_", hexBytes, 64, 64}, {"sntrya_", hexBytes, 64, 64}, {"sntryi_", hexBytes, 64, 64}, // Sentry

	// Language models.
	{"sk-ant-", wordBytes, 80, 130},                                                                                                            // Anthropic
	{"sk-proj-", wordBytes, 40, 170}, {"sk-svcacct-", wordBytes, 40, 170}, {"sk-admin-", wordBytes, 40, 170}, {"sk-None-", wordBytes, 40, 170}, // OpenAI
	{"sk-or-v1-", hexBytes, 64, 64},                               // OpenRouter
	{"sk-", alnumBytes, 32, 64},                                   // OpenAI of old, DeepSeek and others
	{"hf_", alnumBytes, 34, 37}, {"api_org_", alnumBytes, 34, 34}, // Hugging Face
	{"gsk_", alnumBytes, 48, 56},                                                                 // Groq
	{"xai-", alnumBytes, 70, 90},                                                                 // xAI
	{"r8_", alnumBytes, 37, 40},                                                                  // Replicate
	{"pplx-", alnumBytes, 48, 56},                                                                // Perplexity
	{"csk-", alnumBytes, 40, 60},                                                                 // Cerebras
	{"nvapi-", wordBytes, 60, 70},                                                                // NVIDIA
	{"fw_", alnumBytes, 22, 26},                                                                  // Fireworks
	{"tgp_v1_", wordBytes, 40, 50},                                                               // Together
	{"jina_", wordBytes, 60, 64},                                                                 // Jina
	{"tvly-", wordBytes, 32, 48},                                                                 // Tavily
	{"fc-", hexBytes, 32, 32},                                                                    // Firecrawl
	{"lsv2_pt_", wordBytes, 32, 48}, {"lsv2_sk_", wordBytes, 32, 48}, {"ls__", hexBytes, 32, 32}, // LangSmith
	{"sk-lf-", wordBytes, 36, 36},     // Langfuse; pk-lf- is public
	{"pcsk_", wordBytes, 60, 80},      // Pinecone
	{"e2b_", hexBytes, 40, 40},        // E2B
	{"wandb_v1_", wordBytes, 60, 100}, // Weights & Biases

	// Messages and people.
	{"xoxb-", wordBytes, 24, 250}, {"xoxp-", wordBytes, 24, 250}, {"xoxa-", wordBytes, 24, 250}, {"xoxr-", wordBytes, 24, 250}, {"xoxs-", wordBytes, 24, 250}, {"xoxe-", wordBytes, 24, 250}, {"xoxe.xox", tokenBytes, 24, 250}, {"xapp-", wordBytes, 24, 250}, // Slack
	{"SG.", tokenBytes, 66, 66},                                          // SendGrid
	{"SK", hexBytes, 32, 32},                                             // Twilio key
	{"AC", hexBytes, 32, 32},                                             // Twilio account
	{"key-", alnumBytes, 32, 32},                                         // Mailgun
	{"xkeysib-", wordBytes, 81, 81},                                      // Brevo
	{"xsmtpsib-", wordBytes, 81, 81},                                     // Brevo
	{"re_", wordBytes, 30, 36},                                           // Resend
	{"mlsn.", hexBytes, 64, 64},                                          // MailerSend
	{"md-", wordBytes, 22, 22},                                           // Mandrill
	{"EAA", alnumBytes, 80, 300},                                         // Facebook
	{"IGQ", wordBytes, 100, 300},                                         // Instagram
	{"lin_api_", alnumBytes, 40, 40}, {"lin_oauth_", alnumBytes, 40, 64}, // Linear
	{"secret_", alnumBytes, 43, 43}, {"ntn_", alnumBytes, 40, 50}, // Notion
	{"figd_", wordBytes, 40, 60}, {"figo_", wordBytes, 40, 60}, // Figma
	{"pat-na1-", wordBytes, 36, 36}, {"pat-eu1-", wordBytes, 36, 36}, // HubSpot
	{"NRAK-", alnumBytes, 27, 27}, {"NRII-", wordBytes, 32, 32}, {"NRJS-", hexBytes, 19, 19}, // New Relic
	{"dapi", hexBytes, 32, 34},                                                                                                                                                                                                                   // Databricks
	{"dt0c01.", dottedBytes, 89, 89}, {"dt0s01.", dottedBytes, 89, 89}, {"dt0s02.", dottedBytes, 89, 89}, {"dt0s03.", dottedBytes, 89, 89}, {"dt0s06.", dottedBytes, 89, 89}, {"dt0s08.", dottedBytes, 89, 89}, {"dt0s16.", dottedBytes, 89, 89}, // Dynatrace
	{"glsa_", wordBytes, 41, 41}, {"glc_", base64Bytes, 32, 400}, // Grafana
	{"phx_", alnumBytes, 40, 48},                                                                                           // PostHog; phc_ is public
	{"sdk-", wordBytes, 36, 36},                                                                                            // LaunchDarkly; mob- need not be secret
	{"shpat_", hexBytes, 32, 32}, {"shpca_", hexBytes, 32, 32}, {"shppa_", hexBytes, 32, 32}, {"shpss_", hexBytes, 32, 32}, // Shopify
	{"PAT_", alnumBytes, 32, 64}, {"pat", tokenBytes, 79, 82}, // Airtable
	{"duffel_live_", wordBytes, 43, 43}, {"duffel_test_", wordBytes, 43, 43}, // Duffel
	{"EZAK", alnumBytes, 54, 54}, {"EZTK", alnumBytes, 54, 54}, // EasyPost
	{"shippo_live_", hexBytes, 40, 40}, {"shippo_test_", hexBytes, 40, 40}, // Shippo
	{"sbp_", hexBytes, 40, 40}, {"sbp_oauth_", hexBytes, 40, 40}, {"sb_secret_", wordBytes, 24, 60}, // Supabase
	{"pscale_tkn_", tokenBytes, 32, 64}, {"pscale_pw_", tokenBytes, 32, 64}, {"pscale_oauth_", tokenBytes, 32, 64}, // PlanetScale
	{"ddpat_", nameBytes, 56, 90}, {"ddsat_", nameBytes, 56, 90}, {"ddapp_", nameBytes, 40, 90}, // Datadog
	{"napi_", alnumBytes, 60, 70}, // Neon

	// Payments.
	{"sk_live_", alnumBytes, 16, 247}, {"sk_test_", alnumBytes, 16, 247}, {"rk_live_", alnumBytes, 16, 247}, {"rk_test_", alnumBytes, 16, 247}, {"whsec_", base64Bytes, 24, 64}, // Stripe; Svix has whsec_, too
	{"access-sandbox-", wordBytes, 36, 36}, {"access-development-", wordBytes, 36, 36}, {"access-production-", wordBytes, 36, 36}, // Plaid
	{"access_token$production$", dollarBytes, 40, 64}, {"access_token$sandbox$", dollarBytes, 40, 64}, // Braintree
	{"live_", alnumBytes, 30, 64}, {"rzp_live_", alnumBytes, 14, 14}, {"rzp_test_", alnumBytes, 14, 14}, // Mollie, Razorpay
	{"APP_USR-", wordBytes, 50, 90},                                                  // Mercado Pago
	{"pdl_live_apikey_", nameBytes, 53, 53}, {"pdl_sdbx_apikey_", nameBytes, 53, 53}, // Paddle
	{"polar_oat_", nameBytes, 32, 64},                                            // Polar
	{"secret-live-", base64Bytes, 36, 40}, {"secret-test-", base64Bytes, 36, 40}, // Stytch

	// Others.
	{"apify_api_", alnumBytes, 36, 40},                         // Apify
	{"tfp_", wordBytes, 40, 80},                                // Typeform
	{"rdme_", alnumBytes, 60, 80},                              // ReadMe
	{"pnu_", alnumBytes, 36, 36}, {"pnb_", alnumBytes, 36, 36}, // Prefect
	{"ory_pat_", wordBytes, 32, 64}, {"ory_at_", tokenBytes, 43, 90}, {"ory_rt_", tokenBytes, 43, 90}, {"ory_st_", alnumBytes, 32, 64}, // Ory
	{"RGAPI-", wordBytes, 36, 36},                                                                  // Riot Games
	{"p8e-", wordBytes, 32, 32},                                                                    // Adobe
	{"hcaik_", alnumBytes, 58, 58}, {"hcxik_", alnumBytes, 58, 58}, {"hcbik_", alnumBytes, 58, 58}, // Honeycomb
	{"tr_prod_", alnumBytes, 20, 32}, {"tr_stg_", alnumBytes, 20, 32}, {"tr_dev_", alnumBytes, 20, 32}, // Trigger.dev
	{"pk_", hexBytes, 34, 34},                                    // Klaviyo
	{"AQVN", wordBytes, 35, 38},                                  // Yandex Cloud
	{"mdb_sa_sk_", wordBytes, 40, 40},                            // MongoDB Atlas
	{"CCDB1_", nameBytes, 63, 63},                                // CockroachDB Cloud
	{"kpat_", alnumBytes, 40, 60}, {"spat_", alnumBytes, 40, 60}, // Kong Konnect
	{"zpka_", nameBytes, 41, 41},        // Zuplo
	{"rpa_", alnumBytes, 40, 50},        // RunPod
	{"mfa.", wordBytes, 84, 84},         // Discord
	{"sk-helicone-", wordBytes, 31, 31}, // Helicone
	{"sk_", hexBytes, 48, 48},           // ElevenLabs
	{"pa-", wordBytes, 43, 43},          // Voyage
	{"nyk_v0_", alnumBytes, 48, 48},     // Nylas
	{"fio-u-", wordBytes, 64, 64},       // Frame.io
	{"sl.", tokenBytes, 130, 2000},      // Dropbox
}

// keysAt finds the formats of keys that may begin with three characters, by
// keyHash of them: the place of their list in keyLists. Most words begin like none.
// Lists may hold more than was asked for; 0 is the list of nothing.
var keysAt, keyLists = func() (at [1 << keyHashBits]uint16, lists [][]keyFormat) {
	lists = make([][]keyFormat, 1)
	add := func(a, b, c byte, formats ...keyFormat) {
		k := &at[keyHash(a, b, c)]
		if *k == 0 {
			*k = uint16(len(lists))
			lists = append(lists, nil)
		}
		lists[*k] = append(lists[*k], formats...)
	}
	for _, k := range keyFormats {
		if len(k.prefix) > 2 {
			add(k.prefix[0], k.prefix[1], k.prefix[2], k)
			continue
		}
		for c := range 256 {
			if k.set[c] {
				add(k.prefix[0], k.prefix[1], byte(c), k)
			}
		}
	}
	for _, k := range []string{"eyJ", "AGE", "hoo", "PuT"} { // see key
		add(k[0], k[1], k[2])
	}
	return at, lists
}()

const keyHashBits = 12

func keyHash(a, b, c byte) uint32 {
	return (uint32(a)<<16 | uint32(b)<<8 | uint32(c)) * 2654435761 >> (32 - keyHashBits)
}

// mayBeKey reports whether a key may begin with these characters.
func mayBeKey(a, b, c byte) bool { return keysAt[keyHash(a, b, c)] != 0 }

// longKey is the length from which a row is not read again for another key.
const longKey = 130

// maxSecret bounds the length of a key: see hold.
const maxSecret = 7 << 10

// key looks for a key that begins with the three characters at i.
func (f *finder) key(i int) int {
	text := f.text
	if end := f.jwt(i); end > 0 {
		return f.hit(&jwts, i, end, 0.97)
	}
	of := keyLists[keysAt[keyHash(text[i], text[i+1], text[i+2])]]
	for n := range of {
		k := &of[n]
		if k.max > longKey && i < f.noKey || !f.hasAt(i, k.prefix) {
			continue
		}
		start := i + len(k.prefix)
		end := f.endOf(start, k.max+1, k.set)
		if k.max > longKey {
			f.noKey = end
		}
		for end-start > k.min && !alnumBytes[text[end-1]] && text[end-1] != '=' {
			end-- // the dot that ends a sentence, and no dash of the key
		}
		if n := end - start; n < k.min || n > k.max || end < len(text) && byteKind[text[end]] == runByte || !random(text[start:end], k.set) {
			continue
		}
		return f.hit(&apiKeys, i, end, 0.95)
	}
	switch {
	case f.hasAt(i, "AGE-SECRET-KEY-1"):
		if end := f.endOf(i, 80, wordBytes); end-i == 74 {
			return f.hit(&privateKeys, i, end, 0.99)
		}
	case f.hasAt(i, "PuTTY-User-Key-File-"):
		end := min(len(f.text), i+maxSecret)
		if mac := bytes.Index(f.text[i:end], []byte("Private-MAC: ")); mac > 0 {
			end = f.endOf(i+mac+len("Private-MAC: "), 64, hexBytes)
		}
		if bytes.Contains(f.text[i:end], []byte("Private-Lines: ")) {
			return f.hit(&privateKeys, i, end, 0.99)
		}
	case f.hasAt(i, "hooks.slack.com/services/"):
		start := i + len("hooks.slack.com/services/")
		if end := f.endOf(start, 100, slackPath); end-start >= 40 {
			return f.hit(&apiKeys, start, end, 0.95)
		}
	}
	return 0
}

// webhook looks for the address behind the :// at i that lets whoever has it post.
func (f *finder) webhook(i int) int {
	for _, host := range [...]string{"discord.com/api/webhooks/", "discordapp.com/api/webhooks/", "outlook.office.com/webhook/"} {
		if !f.hasAt(i+len("://"), host) {
			continue
		}
		start := i + len("://") + len(host)
		if end := f.endOf(start, 400, hookPath); end-start >= 60 && varied(f.text[start:end], 12) {
			return f.hit(&apiKeys, start, end, 0.95)
		}
	}
	return 0
}

// botToken looks for the token of a Telegram bot around the colon at i: its number,
// and 35 characters that begin with AA.
func (f *finder) botToken(i int) int {
	start := i
	for start > 0 && i-start < 11 && isDigit(f.text[start-1]) {
		start--
	}
	end := f.endOf(i+1, 36, wordBytes)
	if i-start < 8 || i-start > 10 || end-i != 36 || start > 0 && byteKind[f.text[start-1]] == runByte && !f.hasAt(start-3, "bot") || !random(f.text[i+1:end], wordBytes) {
		return 0
	}
	return f.hit(&apiKeys, start, end, 0.95)
}

// dottedToken looks for the token of a Discord bot, whose first part, text[i:end], is
// the number of the bot in base64.
func (f *finder) dottedToken(i, end int) int {
	var id [21]byte
	n, err := base64.RawURLEncoding.Decode(id[:], f.text[i:end])
	if err != nil || endOfDigits(id[:n], 0) != n || f.endOf(end+1, 7, wordBytes) != end+7 || f.text[end+7] != '.' {
		return 0
	}
	last := f.endOf(end+8, 40, wordBytes)
	if size := last - end - 8; size < 27 || size > 38 {
		return 0
	}
	return f.hit(&apiKeys, i, last, 0.95)
}

var slackPath, hookPath = setOf("/"), setOf("/_-@")

// random reports whether a body looks drawn rather than written: digits among
// the letters, unless it is short of neither, and many different characters.
func random(b []byte, set *[256]bool) bool {
	digits, dashes := 0, 0
	for _, c := range b {
		switch {
		case isDigit(c):
			digits++
		case !asciiLetter(c):
			dashes++
		}
	}
	if set == hexBytes {
		return varied(b, 5)
	}
	cased := false
	for i := 1; i < len(b) && !cased; i++ {
		cased = asciiLetter(b[i]) && asciiLetter(b[i-1]) && !upper(b[i-1]) && upper(b[i])
	}
	return varied(b, min(8, 4+len(b)/6)) && (digits > 0 || cased) && dashes*4 <= len(b)
}

// jwt returns where the JSON web token that begins at i ends, or 0. Its header
// must be JSON.
func (f *finder) jwt(i int) int {
	if i < f.noKey || !f.hasAt(i, "eyJ") {
		return 0
	}
	head := f.endOf(i, 1025, wordBytes)
	f.noKey = head
	if head == len(f.text) || f.text[head] != '.' || head-i > 1024 {
		return 0
	}
	body := f.endOf(head+1, maxSecret-(head-i), wordBytes)
	f.noKey = body
	if body-head < 8 || body == len(f.text) || f.text[body] != '.' {
		return 0
	}
	var header [768]byte
	n, err := base64.RawURLEncoding.Decode(header[:], f.text[i:head])
	if err != nil || n < 2 || header[0] != '{' || header[n-1] != '}' {
		return 0
	}
	end := f.endOf(body+1, maxSecret-(body-i), tokenBytes)
	for end > body+1 && f.text[end-1] == '.' {
		end--
	}
	return end
}

// privateKey returns where the armoured private key that begins at i ends, or i.
func (f *finder) privateKey(i int) int {
	const begin, ssh2 = "-----BEGIN", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
	if f.hasAt(i, ssh2) {
		return f.armour(i, i+len(ssh2))
	}
	if !f.hasAt(i, begin) || i+len(begin) == len(f.text) {
		return i
	}
	label, space := i+len(begin), f.text[i+len(begin)] // a plus in a query
	dashes := label
	for dashes < len(f.text) && dashes-label < 48 && (upper(f.text[dashes]) || isDigit(f.text[dashes]) || f.text[dashes] == space) {
		dashes++
	}
	if space != ' ' && space != '+' || !f.hasAt(dashes, "-----") || !bytes.Contains(f.text[label:dashes], []byte{'P', 'R', 'I', 'V', 'A', 'T', 'E', space, 'K', 'E', 'Y'}) {
		return i
	}
	return f.armour(i, dashes+len("-----"))
}

// armour returns where the armoured key ends that begins at i, and whose first
// line ends at end.
func (f *finder) armour(i, end int) int {
	first := end
	for end < len(f.text) && end-i < maxSecret && (armoured[f.text[end]] || f.nextString(&end)) {
		if f.text[end] == '-' && (f.hasAt(end, "-----END ") || f.hasAt(end, "-----END+") || f.hasAt(end, "---- END ")) {
			for end += len("---- END ") + 1; end < len(f.text) && (upper(f.text[end]) || isDigit(f.text[end]) || f.text[end] == ' ' || f.text[end] == '+'); {
				end++
			}
			for n := 0; n < len("-----") && end < len(f.text) && f.text[end] == '-'; n++ {
				end++
			}
			return min(end, i+maxSecret)
		}
		end++
	}
	for end > first && !base64Bytes[f.text[end-1]] {
		end--
	}
	return end
}

// nextString moves end, where a quote closes, behind the quote that opens the next string
// of a program, if nothing stands between the two but what joins strings.
func (f *finder) nextString(end *int) bool {
	quote := f.text[*end]
	if quote != '"' && quote != '\'' && quote != '`' {
		return false
	}
	next := f.endOf(*end+1, maxJoint, joint)
	if next == len(f.text) || f.text[next] != quote || next == *end+1 {
		return false
	}
	*end = next
	return true
}

// joint is what stands between two strings of a program that are joined, or elements of
// a list; line ends fold to spaces.
var joint = bytesOf(" +.,&_\\")

const maxJoint = 64

// armoured are the bytes of an armoured key: base64, its header lines, and what
// line ends fold to.
var armoured = setOf("+/=-: ,.()@<>\\")
