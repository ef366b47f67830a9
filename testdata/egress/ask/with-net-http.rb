# Gets each URL that a line of the standard input has, and says when that is over, whatever came of it.
require "net/http"
require "openssl"

$stdout.sync = true
$stdin.each_line do |line|
  url = URI(line.strip)
  begin
    # hostname has no brackets.
    Net::HTTP.start(url.hostname, url.port, use_ssl: url.scheme == "https", open_timeout: 3, read_timeout: 3) do |http|
      http.get("/")
    end
  rescue SystemCallError, IOError, SocketError, Timeout::Error, Net::ProtocolError, OpenSSL::SSL::SSLError
  end
  puts "over"
end
