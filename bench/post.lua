-- For wrk: posts testdata/admission.json.
local file = assert(io.open(os.getenv("REVIEW"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
if os.getenv("CLOSE") then
    wrk.headers["Connection"] = "close"
end
